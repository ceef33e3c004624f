package report

import (
	"strconv"
	"strings"

	"tljh/internal/host"
)

// Received returns a function that tells how many bytes this machine's network interfaces, but for the loopback, have received
// since now: 0 when nobody knows. Other programs' bytes count, too: it is a hint of progress, no bill.
func Received(files host.Files) func() int64 {
	begin := receivedBytes(files)
	return func() int64 {
		total := int64(0)
		for name, now := range receivedBytes(files) {
			// An interface that was taken down and up again counts from 0.
			if grown := now - begin[name]; grown > 0 {
				total += grown
			}
		}
		return total
	}
}

func receivedBytes(files host.Files) map[string]int64 {
	data, err := files.Read("/proc/net/dev")
	if err != nil {
		return nil
	}
	return parseNetDev(string(data))
}

// parseNetDev reads lines such as "  eth0: 1500 10 0 …"; the first number is the bytes received.
func parseNetDev(text string) map[string]int64 {
	bytes := map[string]int64{}
	for line := range strings.Lines(text) {
		colon := strings.LastIndex(line, ":")
		if colon < 0 {
			continue
		}
		name, fields := strings.TrimSpace(line[:colon]), strings.Fields(line[colon+1:])
		if name == "lo" || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil && n >= 0 {
			bytes[name] = n
		}
	}
	return bytes
}
