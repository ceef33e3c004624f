// Package installer decides what is done to a machine, and in which order: it makes the plans of an installation, an upgrade, a rollback and an adoption from
// facts and config, and says what happens when one fails.
//
// Plans are carried out and journalled by package journal, proved by package proof, and taken back by package uninstall; what the hub notes for commands
// package hubnotes reads. How a step changes the machine is package step's, how an environment is built is package environment's, and what people type and
// see is package cli's.
package installer
