package imports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Code here works as root in folders that another account writes to: user environments, and what they are made from. It reaches them through host.Within
// (descriptors; no link leads out, no pipe is waited for, nothing endless is read). By a path, only what lies in folders that root alone writes to is
// opened; each function that does so stands here, with what it opens.
var byPath = reasons(map[string]string{
	"downloads, in the cache or tools folder": "environment: Fetch Fetched InstallMiniforge InstallUV MiniforgeFetched bringWheel constraint explicit fetchByPip forgetWheels " +
		"buildForHub makeCache pip shareWheels tmp wheelHere wheelOf withPip packPip pack",
	"the hub environment and the carried CPython, root's in all":                                                   "environment: CompilePython PluginsIn UnpackPython carryEnsurepip copyTree extract fillRescue prunePython",
	"the state folder, which is root's":                                                                            "environment: Announce ForgetCheck Record TakeSnapshot announced lastCheck",
	"snapshots, which only root enters":                                                                            "environment: Snapshots keep prune write",
	"folders beside the generations, and links to them":                                                            "environment: RemoveGeneration Switch adoptMeta begin describe differs readMeta seal",
	"an environment that is being made and still root's in all":                                                    "environment: lockFile removeAll rewrite",
	"folders of Miniforges and beside them, where only root makes entries; a link there is replaced, not followed": "environment: giveNamedBack keepNamed linkNamed TakeNamed",
	"an empty folder whose name only root can change":                                                              "environment: fit prepare run",
	"root's own settings": "environment: pipSetting",
	"the record of the last check, in root's state folder": "environment: Record ForgetCheck lastCheck",
	"/proc": "environment: Changers",
	"kernels' descriptions, which are root's":    "installer: RemoveKernel describeKernel kernel",
	"a source's folder before it is handed over": "installer: bring newUnpacking",
})

// reasons turns a table of reasons into one of functions.
func reasons(table map[string]string) map[string]string {
	found := map[string]string{}
	for reason, text := range table {
		folder, functions, _ := strings.Cut(text, ": ")
		for name := range strings.FieldsSeq(functions) {
			found[folder+"/"+name] = reason
		}
	}
	return found
}

// worksInForeignFolders are the packages, or files of packages, that this holds for.
var worksInForeignFolders = []string{"environment", "conda", "installer/source.go", "installer/userenv.go", "installer/envapply.go"}

// plainCalls follow links on the way, or wait, or read without a limit.
var (
	plainOS    = words("Open OpenFile OpenRoot DirFS ReadFile WriteFile Create CreateTemp Mkdir MkdirAll MkdirTemp Remove RemoveAll Rename Link Symlink Chmod Chown Lchown Truncate ReadDir Stat")
	plainFiles = words("Read ReadFile Write Append OpenAppend Mkdir MkdirAll Link HardLink Rename Remove SHA256 Sweep")
	plainWalk  = words("WalkDir Walk Glob EvalSymlinks")
)

func words(text string) map[string]bool {
	found := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		found[word] = true
	}
	return found
}

// plain returns how a call reaches a file by its path, or "".
func plain(call *ast.CallExpr) string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name := selector.Sel.Name
	switch on := selector.X.(type) {
	case *ast.Ident:
		switch {
		case on.Name == "os" && plainOS[name], on.Name == "filepath" && plainWalk[name], on.Name == "files" && plainFiles[name]:
			return on.Name + "." + name
		}
	case *ast.SelectorExpr:
		if on.Sel.Name == "Files" && plainFiles[name] {
			return "Files." + name
		}
	}
	return ""
}

func TestForeignFoldersAreReachedByDescriptors(t *testing.T) {
	used := map[string]bool{}
	for _, place := range worksInForeignFolders {
		files := []string{filepath.Join("../..", place)}
		if !strings.HasSuffix(place, ".go") {
			matches, err := filepath.Glob(filepath.Join("../..", place, "*.go"))
			require.NoError(t, err)
			files = matches
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			parsed, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
			require.NoError(t, err)
			for _, declaration := range parsed.Decls {
				function, ok := declaration.(*ast.FuncDecl)
				if !ok {
					continue
				}
				name := strings.TrimPrefix(filepath.ToSlash(file), "../../")
				name = name[:strings.LastIndex(name, "/")+1] + function.Name.Name
				ast.Inspect(function, func(node ast.Node) bool {
					if call, ok := node.(*ast.CallExpr); ok && plain(call) != "" {
						used[name] = true
						assert.Contains(t, byPath, name, "%s calls %s: reach what another account may change through host.Within, or name here what root alone writes to", name, plain(call))
					}
					return true
				})
			}
		}
	}
	for name := range byPath {
		assert.True(t, used[name], "%s opens nothing by a path any more: remove it from the list", name)
	}
}

func TestPlainCallsAreFound(t *testing.T) {
	for text, found := range map[string]bool{
		"os.ReadFile(p)": true, "b.Host.Files.Write(p, d, a)": true, "files.Read(p)": true, "filepath.WalkDir(p, f)": true,
		"env.Read(p, 1)": false, "files.Within(p)": false, "os.Getenv(p)": false,
	} {
		expression, err := parser.ParseExpr(text)
		require.NoError(t, err)
		call, ok := expression.(*ast.CallExpr)
		require.True(t, ok)
		assert.Equal(t, found, plain(call) != "", text)
	}
}
