// Package installer decides what is done to a machine, and in which order: it makes plans of steps from facts and config,
// runs them with a receipt that survives any interruption, and proves the result.
//
// How a step changes the machine is package step's, how an environment is built is package environment's, and what
// people type and see is package cli's.
package installer
