// Package journal carries out plans of steps and writes down each change before it is made, in a receipt that survives any interruption. What a later run
// need not do again, and what undoing has to give back, is read from it.
//
// Which steps there are, and in which order, package installer decides; how each changes the machine is package step's.
package journal
