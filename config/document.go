package config

import (
	"bytes"

	"gopkg.in/yaml.v3"
)

// Document is a file that was read once, for all that is to be known of it.
type Document struct {
	Data   []byte
	Config *Config // nil when the report holds an error
	Report Report

	src      *source
	root     *yaml.Node // nil when the file is empty
	readable bool       // it is one document of YAML
	walker   *walker    // which knows where everything stands
	tree     *any       // as programs with a YAML library read it
}

// Read reads a file. The name is for the report only.
func Read(name string, data []byte) *Document {
	d := &Document{Data: data}
	var problems []Problem
	d.src, problems = newSource(data)
	c := Default()
	d.walker = newWalker(d.src)
	if !anyError(problems) {
		root, more := d.src.parse()
		problems = append(problems, more...)
		if d.readable = !anyError(more); d.readable {
			d.root = root
		}
	}
	if d.root != nil && d.walker.guard(d.root, 0, false) {
		d.walker.root(d.root, c)
		d.walker.crossCheck(c)
	}
	problems = append(problems, d.walker.problems...)
	d.Report = Report{File: name, source: d.src, walker: d.walker, Problems: sorted(problems)}
	if !anyError(problems) {
		d.Config = c
	}
	return d
}

// Parse is Read for those who want no more. The config is nil when the report holds an error.
func Parse(name string, data []byte) (*Config, Report) {
	d := Read(name, data)
	return d.Config, d.Report
}

// values returns the file as programs with a YAML library read it; nil when it is empty or can't be read. It is not to be changed.
func (d *Document) values() any {
	if d.tree == nil {
		var tree any
		if d.root != nil {
			tree = treeOfNode(d.root, 0)
		}
		d.tree = &tree
	}
	return *d.tree
}

// text is the file without a byte order mark; marked tells whether there is one.
func (d *Document) text() (text []byte, marked bool) { return bytes.CutPrefix(d.Data, []byte(bom)) }
