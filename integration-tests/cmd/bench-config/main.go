// Command bench-config measures the config's commands as people run them, process and all, on a config of 1,000 users and 50 groups, by
// turns with a process that does nothing: differences and ratios hold on any machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	program := flag.String("program", "./tljh-install", "the `FILE` to measure")
	rounds := flag.Int("rounds", 31, "how often each command is run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := bench(ctx, *program, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// command is what is measured: each run counts its time on the clock and on the processors.
type command struct {
	name       string
	argv       []string
	aim        time.Duration // 0 is none
	above      bool          // the aim is what it takes more than nothing does
	wall, busy []time.Duration
}

func (c *command) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	begin := time.Now()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run %s: %w\n%s", strings.Join(c.argv, " "), err, output)
	}
	c.wall = append(c.wall, time.Since(begin))
	c.busy = append(c.busy, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	return nil
}

func bench(ctx context.Context, program string, rounds int) (err error) {
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%w\nhint: run `make bench-config`", err)
	}
	dir, err := os.MkdirTemp("", "tljh-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(class()), 0o600); err != nil {
		return err
	}
	at := func(words ...string) []string {
		return append([]string{program, "config", "--config-path", file}, words...)
	}
	nothing := &command{name: "a process that does nothing (version)", argv: []string{program, "version"}}
	commands := []*command{
		nothing,
		{name: "config validate", argv: at("validate"), aim: 20 * time.Millisecond, above: true},
		{name: "config show", argv: at("show"), aim: 50 * time.Millisecond},
		{name: "config set", aim: 50 * time.Millisecond},
	}
	for round := range rounds + 1 {
		for _, c := range commands {
			if c.name == "config set" { // another value each time, or there would be nothing to do
				c.argv = at("set", "limits.memory", fmt.Sprintf("%dM", 1024+round))
			}
			if err := c.run(ctx); err != nil {
				return err
			}
			if round == 0 { // files that nobody has read yet
				c.wall, c.busy = nil, nil
			}
		}
	}
	return tell(commands, nothing)
}

func tell(commands []*command, nothing *command) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "ms\twall least\twall median\tCPU least\tCPU median\tmore than nothing\taim\t")
	for _, c := range commands {
		figures := []string{}
		for _, times := range [][]time.Duration{c.wall, c.busy} {
			figures = append(figures, ms(slices.Min(times)), ms(median(times)))
		}
		more, aim := "", ""
		if c != nothing {
			more = fmt.Sprintf("%s, × %.1f", ms(median(c.wall)-median(nothing.wall)), float64(median(c.wall))/float64(median(nothing.wall)))
		}
		if c.aim > 0 {
			reached := median(c.wall)
			if c.above {
				reached -= median(nothing.wall)
			}
			aim = "at most " + ms(c.aim)
			if c.above {
				aim += " more"
			}
			if reached <= c.aim {
				aim += ": met"
			} else {
				aim += ": missed"
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t\n", c.name, strings.Join(figures, "\t"), more, aim)
	}
	return table.Flush()
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// class is a config of 1,000 users and 50 groups.
func class() string {
	var b strings.Builder
	b.WriteString("users:\n  admin: [teacher]\n  allowed:\n    - teacher\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "    - student%d\n", i)
	}
	b.WriteString("  extra_user_groups:\n")
	for group := range 50 {
		members := []string{}
		for i := range 20 {
			members = append(members, fmt.Sprintf("student%d", group*20+i))
		}
		fmt.Fprintf(&b, "    group%d: [%s]\n", group, strings.Join(members, ", "))
	}
	return b.String()
}
