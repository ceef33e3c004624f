package browser

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// LogIn fills in the hub's login page and presses its button.
func (b *Browser) LogIn(ctx context.Context, hub, name, password string) error {
	if err := b.Open(ctx, hub+"/hub/login"); err != nil {
		return err
	}
	if err := b.Type(ctx, "#username_input", name); err != nil {
		return err
	}
	if err := b.Type(ctx, "#password_input", password); err != nil {
		return err
	}
	if err := b.Click(ctx, "#login_submit"); err != nil {
		return err
	}
	const in, first = "location.pathname != '/hub/login'", "document.querySelector('#repeat_input') !== null"
	if err := b.WaitFor(ctx, "the page after the login", "("+in+" || "+first+") && document.readyState == 'complete'"); err != nil {
		return err
	}
	var choosing bool
	if err := b.Eval(ctx, first, &choosing); err != nil || !choosing {
		return err
	}
	return b.choose(ctx, password)
}

// choose fills in the page on which a user chooses a password at the first login.
func (b *Browser) choose(ctx context.Context, password string) error {
	for _, field := range []string{"#password_input", "#repeat_input"} {
		if err := b.Type(ctx, field, password); err != nil {
			return err
		}
	}
	if err := b.Click(ctx, "#login_submit"); err != nil {
		return err
	}
	return b.WaitFor(ctx, "the page after a first login", "location.pathname != '/hub/login' && document.readyState == 'complete'")
}

// NewNotebook presses the Python tile of JupyterLab's launcher and waits for an empty cell with a kernel at rest behind it.
func (b *Browser) NewNotebook(ctx context.Context) error {
	if err := b.Click(ctx, `.jp-LauncherCard[data-category="Notebook"]`); err != nil {
		return err
	}
	if err := b.WaitVisible(ctx, firstCell); err != nil {
		return err
	}
	// JupyterLab asks once whether it may tell its news; a person who looks at the notebook leaves that alone.
	return b.WaitFor(ctx, "a kernel at rest", `document.querySelector('.jp-NotebookPanel [data-status="idle"]')`)
}

// firstCell is where the first cell's code is typed.
const firstCell = ".jp-Notebook .jp-CodeCell .cm-content"

// RunCell types code into the first cell, runs it with the keyboard, and waits for the output to hold a text.
func (b *Browser) RunCell(ctx context.Context, code, output string) (string, error) {
	if err := b.typeCode(ctx, code); err != nil {
		return "", err
	}
	if err := b.runFirst(ctx); err != nil {
		return "", err
	}
	const area = ".jp-Notebook .jp-OutputArea-output"
	err := b.WaitFor(ctx, fmt.Sprintf("the output %q", output),
		fmt.Sprintf("[...document.querySelectorAll(%q)].some(e => e.innerText.includes(%q))", area, output))
	if err != nil {
		return "", fmt.Errorf("%w; the notebook shows: %s", err, b.shown())
	}
	text, err := b.Text(ctx, area)
	return strings.TrimSpace(text), err
}

// runFirst presses Shift+Enter until the first cell's prompt tells that it runs or ran: a key pressed while JupyterLab draws the cell
// anew goes nowhere, and whoever sits before it presses again.
func (b *Browser) runFirst(ctx context.Context) error {
	const prompt = ".jp-Notebook .jp-CodeCell .jp-InputPrompt"
	started := fmt.Sprintf(`/\[(\*|\d+)\]/.test(document.querySelector(%q).innerText)`, prompt)
	for ctx.Err() == nil {
		if err := b.Click(ctx, firstCell); err != nil {
			return err
		}
		if err := b.ShiftEnter(ctx); err != nil {
			return err
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := b.WaitFor(look, "a cell that runs", started)
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("the cell never ran: %w; the notebook shows: %s", context.Cause(ctx), b.shown())
}

// shown is what a person would read in the notebook's panel, for a failure's message.
func (b *Browser) shown() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	text, err := b.Text(ctx, ".jp-NotebookPanel, .jp-Dialog")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(text), " ")
}

// typeCode types into the first cell. JupyterLab draws it anew while it comes up, and what was typed just before is gone then: like a
// person, this looks, and types once more.
func (b *Browser) typeCode(ctx context.Context, code string) error {
	there := fmt.Sprintf("document.querySelector(%q).innerText.includes(%q)", firstCell, code)
	for ctx.Err() == nil {
		if err := b.Type(ctx, firstCell, code); err != nil {
			return err
		}
		look, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := b.WaitFor(look, "the code in its cell", there)
		cancel()
		if err == nil {
			return nil
		}
	}
	return context.Cause(ctx)
}
