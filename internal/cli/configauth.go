package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tljh/config"
	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func (c *configCommand) testAuth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test-auth NAME",
		Short: "Check whether a user could log in with the config as it is, without logging in",
		Long: "Ask the authenticator that the config names whether it would accept a user. The password is read from the terminal,\n" +
			"or as one line from standard input if there is no terminal. Nothing is stored. Use it before you reload a config\n" +
			"with a different authenticator.",
		Args: argsOf(1, "test-auth NAME"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.runTestAuth(cmd.Context(), args[0]) },
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c *configCommand) runTestAuth(ctx context.Context, name string) error {
	if err := config.CheckUserName(name); err != nil {
		return &installer.BadInput{Err: err}
	}
	data, err := c.read()
	if err != nil {
		return err
	}
	if _, err := c.judge(ctx, config.Read(c.path, data)); err != nil {
		return err
	}
	password, err := readOnce(c.streams, "Password of "+name+": ")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the authenticator does not answer"))
	defer cancel()
	result, err := host.Local(nil).Runner.Run(ctx, host.Command{
		Argv: []string{layout.Hub + "/bin/python", "-m", "tljh.try_auth", name}, Stdin: strings.NewReader(password + "\n"),
	})
	answer := authAnswer{Tried: true}
	if jsonErr := json.Unmarshal(result.Stdout, &answer); jsonErr != nil {
		return errors.Join(errors.New("cannot try the authenticator"), err)
	}
	if c.json {
		_, err = c.streams.Out.Write(result.Stdout)
	} else {
		_, err = fmt.Fprintln(c.streams.Out, answer.verdict(name))
	}
	if err == nil && !answer.OK {
		return &errTold{exitFailed}
	}
	return err
}

// authAnswer is what tljh.try_auth prints.
type authAnswer struct {
	OK     bool   `json:"ok"`
	Tried  bool   `json:"tried"`
	Admin  *bool  `json:"admin"`
	Reason string `json:"reason"`
}

func (a authAnswer) verdict(name string) string {
	switch {
	case !a.Tried:
		return fmt.Sprintf("cannot be checked from here: %s", a.Reason)
	case !a.OK:
		return fmt.Sprintf("%s could not log in: %s", name, a.Reason)
	case a.Admin != nil && *a.Admin:
		return name + " could log in, as an admin."
	}
	return name + " could log in."
}

func (c *configCommand) breakGlass() *cobra.Command {
	var off bool
	cmd := &cobra.Command{
		Use:   "break-glass NAME",
		Short: "Let an admin log in for ten minutes, bypassing the authenticator",
		Long: "Print a password with which NAME can log in as an admin for ten minutes, for when the authenticator accepts nobody.\n" +
			"It works at the login form or, if users log in on another site, at /hub/break-glass. Nothing is restarted. Every\n" +
			"use is recorded in the hub's journal.",
		Example: "  sudo tljh-install config break-glass alice\n  sudo tljh-install config break-glass --off",
		Args: func(cmd *cobra.Command, args []string) error {
			if off {
				return argsOf(0, "break-glass --off")(cmd, args)
			}
			return argsOf(1, "break-glass NAME")(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if off {
				return c.closeGlass()
			}
			return c.runBreakGlass(args[0])
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "revoke the password before it expires")
	return cmd
}

func (c *configCommand) runBreakGlass(name string) error {
	admin, err := installer.ParseAdmin(name)
	if err != nil {
		return err
	}
	running, err := c.running()
	if err != nil {
		return err
	}
	if !slices.Contains(running.Users.Admin, admin.Name) {
		return &installer.BadInput{Err: host.Hint(fmt.Errorf("%s is not an admin of the running hub: this login is only for users.admin", admin.Name), "the admins are: %s", adminsOf(running))}
	}
	password := installer.GeneratePassword(0)
	until := time.Now().Add(installer.GlassTime)
	if err := installer.BreakGlass(c.file().Host.Files, admin.Name, password, until); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.streams.Out, "%s can log in as an admin until %s at %shub/break-glass\n  password %s  (shown only now)\n",
		admin.Name, until.Format(time.TimeOnly), running.BaseURL, password)
	return err
}

// running returns the config that the hub runs with, which may be another than that of the file.
func (c *configCommand) running() (*config.Config, error) {
	if _, err := c.read(); err != nil {
		return nil, err
	}
	data, err := c.file().Host.Files.Read(layout.Applied)
	if err != nil {
		return nil, host.Hint(fmt.Errorf("cannot read the config of the running hub: %w", err), "start it: tljh-install config reload")
	}
	cfg, report := config.Parse(layout.Applied, data)
	if cfg == nil {
		return nil, host.Hint(fmt.Errorf("cannot read the config of the running hub: %w", report.Err()), "restart it: tljh-install config reload")
	}
	return cfg, nil
}

func adminsOf(cfg *config.Config) string {
	if len(cfg.Users.Admin) == 0 {
		return "none; to add one: tljh-install config add users.admin NAME --reload"
	}
	return strings.Join(cfg.Users.Admin, ", ")
}

func (c *configCommand) closeGlass() error {
	if err := c.file().Host.Files.Remove(layout.BreakGlass); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.streams.Out, "The break-glass password is revoked.")
	return err
}
