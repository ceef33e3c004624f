package environment

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tljh/hub"
)

func names(lock []byte) map[string]string {
	found := map[string]string{}
	for _, each := range parseLock(lock) {
		found[each.name] = each.version
	}
	return found
}

func TestTheRescueHoldsWhatTheHubLacks(t *testing.T) {
	hubs, users, rescue := names(hub.Lock("hub")), names(hub.Lock("user")), names(rescueLock())
	for _, needed := range []string{"jupyterlab", "jupyter-server", "ipykernel", "terminado", "pyzmq"} {
		assert.Contains(t, rescue, needed)
	}
	for name, version := range rescue {
		assert.Equal(t, users[name], version, name)
		assert.NotContains(t, hubs, name, "it would be there twice")
	}
	for _, name := range dispensable {
		assert.NotContains(t, rescue, name)
		assert.Contains(t, users, name, "nobody brings it")
	}
	for _, each := range parseLock(rescueLock()) {
		assert.NotEmpty(t, each.hashes, each.name)
	}
}

func TestFilesOfAWheelFindTheirPlace(t *testing.T) {
	for name, place := range map[string]string{
		"jupyterlab/labapp.py":                        "lib/python3.14/site-packages/jupyterlab/labapp.py",
		"jupyterlab-4.0.data/data/etc/jupyter/x.json": "etc/jupyter/x.json",
		"zmq-1.0.data/platlib/zmq/x.so":               "lib/python3.14/site-packages/zmq/x.so",
		"jupyter_core-5.0.data/scripts/jupyter":       "",
		"jupyterlab/static/main.js":                   "",
		"jupyter_core/tests/test_x.py":                "",
		"babel/locale-data/de.dat":                    "",
		"babel/locale-data/en_GB.dat":                 "lib/python3.14/site-packages/babel/locale-data/en_GB.dat",
		"babel-2.0.dist-info/METADATA":                "lib/python3.14/site-packages/babel-2.0.dist-info/METADATA",
	} {
		assert.Equal(t, place, placeInRescue(name), name)
	}
}
