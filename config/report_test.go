package config

import (
	"encoding/json"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the reports of testdata anew")

// day is the one on which the machine of the reports is looked at.
var day = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// machineOfReports is the machine of the configs in testdata/reports whose name begins with machine-.
func machineOfReports(t *testing.T) shelf {
	t.Helper()
	cert, key := keyPair(t, day.AddDate(0, 6, 0))
	_, other := keyPair(t, day.AddDate(0, 6, 0))
	old, oldKey := keyPair(t, day.AddDate(0, 0, -1))
	ending, endingKey := keyPair(t, day.AddDate(0, 0, 3))
	early, earlyKey := keyPair(t, day.AddDate(1, 0, 1))
	return shelf{
		"/etc/hub.pem": cert, "/etc/hub.key": key, "/etc/other.key": other, "/etc/old.pem": old, "/etc/old.key": oldKey, "/etc/ending.pem": ending, "/etc/ending.key": endingKey,
		"/etc/early.pem": early, "/etc/early.key": earlyKey, "/etc/notes.txt": []byte("hello"), "/etc/fake.png": []byte("<svg/>"), "/etc/logo.png": []byte("\x89PNG\r\n\x1a\n"),
		"/etc/locked.key":  pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}),
		"/etc/damaged.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	}
}

// wholeReport is a report with what the machine and the hub environment say, as far as files beside the config do: NAME.hub.json is what the environment answers.
func wholeReport(t *testing.T, file string, d *Document) Report {
	t.Helper()
	report := d.Report
	if d.Config == nil {
		return report
	}
	if strings.HasPrefix(filepath.Base(file), "machine-") {
		report = report.With(CheckMachine(d.Config, d.Report, machineOfReports(t), Resources{}, day, func() *Config { return nil }))
	}
	answer, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".hub.json")
	if err == nil {
		var told AuthenticatorAnswer
		require.NoError(t, json.Unmarshal(answer, &told))
		report = report.With(CheckAuthenticator(d.Config, d.Report, told))
	}
	return report
}

// Each file of testdata/reports is a config; the .txt beside it is its report.
func TestReports(t *testing.T) {
	files, err := filepath.Glob("testdata/reports/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 100)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			d := Read("config.yaml", data)
			assert.Equal(t, d.Report.Err() == nil, d.Config != nil)
			report := wholeReport(t, file, d)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(report.Text()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), report.Text())
			assert.True(t, json.Valid(mustJSON(t, report)))
		})
	}
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	return data
}
