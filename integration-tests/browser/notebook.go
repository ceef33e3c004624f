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
	return b.WaitFor(ctx, "the page after the login", "location.pathname != '/hub/login' && document.readyState == 'complete'")
}

// NewNotebook presses the Python tile of JupyterLab's launcher and waits for an empty cell with a kernel at rest behind it.
func (b *Browser) NewNotebook(ctx context.Context) error {
	if err := b.Click(ctx, `.jp-LauncherCard[data-category="Notebook"]`); err != nil {
		return err
	}
	if err := b.WaitVisible(ctx, `.jp-Notebook .jp-CodeCell .cm-content`); err != nil {
		return err
	}
	// JupyterLab asks once whether it may tell its news; a person who looks at the notebook leaves that alone.
	return b.WaitFor(ctx, "a kernel at rest", `document.querySelector('.jp-NotebookPanel [data-status="idle"]')`)
}

// RunCell types code into the first cell, runs it with the keyboard, and waits for the output to hold a text.
func (b *Browser) RunCell(ctx context.Context, code, output string) (string, error) {
	if err := b.typeCode(ctx, code); err != nil {
		return "", err
	}
	if err := b.ShiftEnter(ctx); err != nil {
		return "", err
	}
	const area = ".jp-Notebook .jp-OutputArea-output"
	err := b.WaitFor(ctx, fmt.Sprintf("the output %q", output),
		fmt.Sprintf("[...document.querySelectorAll(%q)].some(e => e.innerText.includes(%q))", area, output))
	if err != nil {
		return "", err
	}
	text, err := b.Text(ctx, area)
	return strings.TrimSpace(text), err
}

// typeCode types into the first cell. JupyterLab draws it anew while it comes up, and what was typed just before is gone then: like a
// person, this looks, and types once more.
func (b *Browser) typeCode(ctx context.Context, code string) error {
	const cell = ".jp-Notebook .jp-CodeCell .cm-content"
	there := fmt.Sprintf("document.querySelector(%q).innerText.includes(%q)", cell, code)
	for ctx.Err() == nil {
		if err := b.Type(ctx, cell, code); err != nil {
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
