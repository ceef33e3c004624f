// Package proof shows that an installation works by using it as people do: the hub's API, the proxy's routes, the login page through the edge, a probe
// user's server and a notebook's cell in it. It also gives the proxy its routes back after a restart.
//
// It changes nothing that stays, and what is done with its verdict package installer decides.
package proof
