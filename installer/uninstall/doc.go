// Package uninstall takes an installation back by what its receipt tells, thing by thing: units, files, groups, accounts, folders. It needs neither config nor
// hub, and finishes what was interrupted.
//
// How one step of a kind is undone is package step's; that a task needs no undoing of its own, or which, stands in the table of undoers.go.
package uninstall
