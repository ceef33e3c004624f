# Made by tljh-install.
/usr/local/bin/tljh-install completion fish | source
