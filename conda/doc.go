// Package conda knows conda: which Miniforge is installed and where it comes from, the commands that make and change environments, conda's
// settings, and the records that it keeps of what it installed.
//
// It runs nothing and writes nothing: it gives out addresses, arguments and texts, and reads records. Building environments with them is up to
// package environment.
package conda
