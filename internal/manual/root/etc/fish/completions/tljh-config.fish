# Made by tljh-install.
/usr/local/bin/tljh-config completion fish | source
