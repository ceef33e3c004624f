package cli

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(Main(os.Args[0], os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})) }
	testscript.Main(m, map[string]func(){"tljh-install": program, "tljh-config": program})
}

// The scripts do nothing that could change the machine they run on: they ask, plan, and give what must be refused.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(condition string) (bool, error) {
			if condition == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("there is no condition %q", condition)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("LC_ALL", "C.UTF-8")
			return nil
		},
	})
}
