package cli

import (
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tljh/internal/layout"
	"tljh/internal/step"
)

// manualFiles returns what package manual holds, by where it is installed: what a release installs is made of the same tables as help.
func manualFiles() map[string][]byte {
	found := map[string][]byte{}
	for _, name := range []string{path.Base(layout.Binary), path.Base(layout.ConfigLink)} {
		root := rootCommand(name, Streams{})
		for _, page := range append([]*cobra.Command{root}, shown(root)...) {
			if page != root && (root.Name() != path.Base(layout.Binary) || page.Name() == "help" || page.Name() == "completion") {
				continue // it is told on the page of the program
			}
			file := strings.ReplaceAll(page.CommandPath(), " ", "-") + ".1"
			found["/usr/local/share/man/man1/"+file] = []byte(manPage(page))
		}
		for _, stub := range completionStubs {
			found[fmt.Sprintf(stub.path, name)] = []byte(fmt.Sprintf(stub.text, name))
		}
	}
	return found
}

// completionStubs let each shell, at the first Tab, ask the program for its completion: so it is always that of the program which is there.
var completionStubs = []struct{ path, text string }{
	{"/usr/local/share/bash-completion/completions/%[1]s", "# " + step.Mark + ".\nsource <(/usr/local/bin/%[1]s completion bash)\n"},
	{"/usr/local/share/zsh/site-functions/_%[1]s", "#compdef %[1]s\n# " + step.Mark + ". The first line has to be that. The script defines this function anew.\n" +
		"eval \"$(/usr/local/bin/%[1]s completion zsh)\"\n_%[1]s \"$@\"\n"},
	{"/etc/fish/completions/%[1]s.fish", "# " + step.Mark + ".\n/usr/local/bin/%[1]s completion fish | source\n"},
}

// manPage writes a command's page, with the verbs of a family, in the language of man(7).
func manPage(cmd *cobra.Command) string {
	var text strings.Builder
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	fmt.Fprintf(&text, ".\\\" %s of its own help.\n.TH %q 1 \"\" \"The Littlest JupyterHub\" \"\"\n", step.Mark, strings.ToUpper(name))
	fmt.Fprintf(&text, ".SH NAME\n%s \\- %s\n", roff(name), roff(strings.TrimPrefix(cmd.Short, "The Littlest JupyterHub: ")))
	fmt.Fprintf(&text, ".SH SYNOPSIS\n.B %s\n", roff(strings.TrimSpace(usageLines(cmd))))
	text.WriteString(".SH DESCRIPTION\n" + manBody(cmd))
	verbs := shown(cmd)
	if len(verbs) > 0 {
		text.WriteString(".SH COMMANDS\n")
	}
	for _, verb := range verbs {
		if !cmd.HasParent() && cmd.Name() == path.Base(layout.Binary) {
			fmt.Fprintf(&text, ".TP\n.B %s\n%s.\n", roff(verb.Name()), roff(verb.Short))
			continue
		}
		fmt.Fprintf(&text, ".SS %q\n%s", roff(strings.TrimSpace(usageLines(verb))), manBody(verb))
	}
	if cmd.HasParent() || cmd.Name() != path.Base(layout.Binary) {
		text.WriteString(".SH SEE ALSO\n.BR tljh-install (1)\n")
	} else {
		see := []string{}
		for _, verb := range verbs {
			if verb.Name() != "help" && verb.Name() != "completion" {
				see = append(see, fmt.Sprintf(".BR %s (1)", roff(cmd.Name()+"-"+verb.Name())))
			}
		}
		text.WriteString(".SH FILES\n.TP\n.I " + layout.Config + "\nThe config.\n.TP\n.I " + layout.Log + "\nWhat this program did.\n")
		text.WriteString(".SH SEE ALSO\n" + strings.Join(see, " ,\n") + " ,\n.BR tljh-config (1)\n")
	}
	return text.String()
}

// manBody is what help says of a command: its text, options, examples and exit codes.
func manBody(cmd *cobra.Command) string {
	cmd.InitDefaultHelpFlag()
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	about, codes := exitCodesOf(about)
	var text strings.Builder
	for n, paragraph := range strings.Split(about, "\n\n") {
		if n > 0 {
			text.WriteString(".PP\n")
		}
		text.WriteString(roff(strings.Join(strings.Fields(paragraph), " ")) + "\n")
	}
	options := manOptions(cmd.LocalFlags())
	if options != "" {
		text.WriteString(".PP\nOptions:\n" + options)
	}
	if cmd.Example != "" {
		text.WriteString(".PP\nExamples:\n.PP\n.nf\n.RS\n" + roff(cmd.Example) + "\n.RE\n.fi\n")
	}
	if len(codes) > 0 {
		text.WriteString(".PP\nExit codes:\n")
	}
	for _, code := range codes {
		number, means, _ := strings.Cut(code, " ")
		fmt.Fprintf(&text, ".TP\n.B %s\n%s\n", number, roff(means))
	}
	return text.String()
}

func manOptions(flags *pflag.FlagSet) string {
	var text strings.Builder
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		name, usage := flagWords(flag)
		fmt.Fprintf(&text, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name)), roff(usage))
	})
	return text.String()
}

// roff takes the meaning off what man would obey: backslashes, hyphens that are to be copied, and full stops and quotes at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\[u2026]`, "'", `\(aq`).Replace(text)
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[n] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
