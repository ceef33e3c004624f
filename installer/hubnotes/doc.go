// Package hubnotes reads what the hub writes down for commands: that single-user servers start from the rescue environment, and what it does not use of
// jupyterhub_config.d.
package hubnotes
