// Package conda is where conda lives: Miniforge, channels, and user environments that are conda prefixes. It plugs into
// package environment as an environment.Manager. This release has no such manager yet; user environments are made by uv.
package conda
