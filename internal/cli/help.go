package cli

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"tljh/internal/report"
)

// helpColumns is how wide help is: what every terminal has, and what is read without losing the line.
const helpColumns = 80

// complete gives a command line what all have: help, completion, --version, and words for what it does not know.
func complete(root *cobra.Command) *cobra.Command {
	root.Version = versionText()
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "print the version of this program and of the software it installs")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newCompletionCommand())
	root.SetHelpCommand(newHelpCommand())
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_, _ = io.WriteString(cmd.OutOrStdout(), helpText(cmd, helpWidth(cmd.OutOrStdout())))
	})
	return root
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show help for a command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := []string{}
			for _, verb := range shown(of) {
				names = append(names, verb.Name()+"\t"+verb.Short)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of := cmd.Root()
			for n := range args {
				found, _, err := of.Find(args[n : n+1])
				if err != nil || found == of {
					return noArgs(of, args[n:])
				}
				of = found
			}
			return of.Help()
		},
	}
}

// helpWidth is that of the terminal, where that is narrower.
func helpWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return helpColumns
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width < 30 {
		return helpColumns
	}
	return min(width, helpColumns)
}

// helpText is what a command says of itself.
func helpText(cmd *cobra.Command, width int) string {
	cmd.InitDefaultHelpFlag()
	var text strings.Builder
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	about, codes := exitCodesOf(about)
	text.WriteString(report.Wrap(about, width, "") + "\n")
	section := func(title, body string) {
		if body != "" {
			fmt.Fprintf(&text, "\n%s:\n%s\n", title, strings.TrimRight(body, "\n"))
		}
	}
	section("Usage", usageLines(cmd))
	section("Examples", cmd.Example)
	section("Commands", commandRows(cmd, width))
	section("Options", flagRows(cmd.LocalFlags(), width))
	section("Global options", flagRows(cmd.InheritedFlags(), width))
	section("Exit codes", codeRows(codes, width))
	if len(shown(cmd)) > 0 {
		text.WriteString("\n" + report.Wrap(fmt.Sprintf("Use %s COMMAND --help for more information about a command.", cmd.CommandPath()), width, "") + "\n")
	}
	return text.String()
}

func usageLines(cmd *cobra.Command) string {
	if len(shown(cmd)) > 0 {
		return "  " + cmd.CommandPath() + " COMMAND"
	}
	line := cmd.UseLine()
	return "  " + strings.Replace(line, "[flags]", "[OPTIONS]", 1)
}

func commandRows(cmd *cobra.Command, width int) string {
	rows := [][2]string{}
	for _, verb := range shown(cmd) {
		rows = append(rows, [2]string{verb.Name(), verb.Short})
	}
	return helpRows(rows, width)
}

// helpRows are names with what they are behind them, wrapped below themselves.
func helpRows(rows [][2]string, width int) string {
	longest := 0
	for _, row := range rows {
		longest = max(longest, len([]rune(row[0])))
	}
	var text strings.Builder
	for _, row := range rows {
		indent := strings.Repeat(" ", longest+4)
		lines := strings.Split(report.Wrap(row[1], width-len(indent), ""), "\n")
		fmt.Fprintf(&text, "  %-*s  %s\n", longest, row[0], strings.Join(lines, "\n"+indent))
	}
	return text.String()
}

// flagRows are pflag's, but for those whose name leaves no room beside it: what they are stands below.
func flagRows(flags *pflag.FlagSet, width int) string {
	const below = 10
	var text strings.Builder
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		name, usage := flagWords(flag)
		indent := strings.Repeat(" ", below)
		fmt.Fprintf(&text, "  %s\n%s%s\n", name, indent, strings.ReplaceAll(report.Wrap(usage, width-below, ""), "\n", "\n"+indent))
	})
	return text.String()
}

// flagWords returns how an option is written, and what it does.
func flagWords(flag *pflag.Flag) (name, usage string) {
	value, usage := pflag.UnquoteUsage(flag)
	name = "    --" + flag.Name
	if flag.Shorthand != "" {
		name = "-" + flag.Shorthand + ", --" + flag.Name
	}
	if value != "" {
		name += " " + value
	}
	if flag.DefValue != "" && flag.DefValue != "false" && flag.DefValue != "[]" {
		usage += " (default " + flag.DefValue + ")"
	}
	return name, usage
}

// Exit codes stand in the long texts as "Exit codes: 0 done; 1 failed.", a paragraph of their own.
var (
	exitParagraph = regexp.MustCompile(`(?s)\n\nExit codes: (.*?)\.?$`)
	exitSeparator = regexp.MustCompile(`;\s+(\d+ )`)
)

func exitCodesOf(about string) (rest string, codes []string) {
	found := exitParagraph.FindStringSubmatchIndex(about)
	if found == nil {
		return about, nil
	}
	list := strings.Join(strings.Fields(about[found[2]:found[3]]), " ")
	return about[:found[0]], strings.Split(exitSeparator.ReplaceAllString(list, "\x00$1"), "\x00")
}

func codeRows(codes []string, width int) string {
	rows := [][2]string{}
	for _, code := range codes {
		number, means, _ := strings.Cut(code, " ")
		rows = append(rows, [2]string{number, means})
	}
	return helpRows(rows, width)
}
