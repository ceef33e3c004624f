package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// common are the flags of commands that change what is installed, and ask before they do.
func (o *installOptions) common(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.json, "json", false, "report as JSON, one object per line")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "show every command and its output")
}

// atTerminal returns where somebody can be asked, if anybody is there.
func atTerminal(streams Streams) (*os.File, bool) {
	file, ok := streams.In.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// readYes reads an answer. Everything but a yes is a no, as is nothing at all.
func readYes(in io.Reader) (bool, error) {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("cannot read the answer: %w", err)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}
