"""What files in jupyterhub_config.d cannot change, and why. Data only: snippets.py goes by it.

Each configurable trait of JupyterHub, its spawner, its authenticator and its proxy either has an effect when a file sets it, or has its reason here.
A test goes over all of them.
"""

EDGE = "the edge has the public address: use the keys http and https of the config"
ADDRESS = "hub, proxy and edge reach each other at fixed addresses, which users' processes cannot take"
PROXY = "the proxy is a unit of its own, which the hub does not start: systemctl edit configurable-http-proxy"
INTERNAL = "hub, proxy and servers talk over loopback and sockets that users cannot read"
COMMAND_LINE = "it is for the command line, and would keep the hub from running"
DATABASE = "upgrades, rollbacks and their copies know one database"
ACCOUNTS = "the hub makes its users' accounts: use the keys users.account_prefix and users.home_root of the config"
SOCKET = "servers listen on a socket each, which no other user's process can take"

# By the class that a trait belongs to, or a subclass of it.
REFUSED: dict[str, dict[str, str]] = {
    "JupyterHub": {
        "admin_users": "write c.Authenticator.admin_users, or use the key users.admin of the config",
        "answer_yes": "the hub asks nobody: it has no terminal",
        "base_url": "the edge has to know it: use the key base_url of the config",
        "bind_url": EDGE,
        "cleanup_proxy": PROXY,
        "config_file": COMMAND_LINE,
        "confirm_no_ssl": "JupyterHub does not use it any more",
        "cookie_secret_file": "upgrades and uninstalling know one file; c.JupyterHub.cookie_secret works",
        "data_files_path": "the hub's pages come with its release: use c.JupyterHub.template_paths",
        "db_url": DATABASE,
        "debug_proxy": PROXY,
        "external_ssl_authorities": INTERNAL,
        "generate_certs": COMMAND_LINE,
        "generate_config": COMMAND_LINE,
        "hub_bind_url": ADDRESS,
        "hub_connect_ip": ADDRESS,
        "hub_connect_port": ADDRESS,
        "hub_connect_url": ADDRESS,
        "hub_ip": ADDRESS,
        "hub_port": ADDRESS,
        "hub_routespec": ADDRESS,
        "hub_socket_mode": ADDRESS,
        "internal_certs_location": INTERNAL,
        "internal_ssl": INTERNAL,
        "ip": EDGE,
        "port": EDGE,
        "proxy_api_ip": ADDRESS,
        "proxy_api_port": ADDRESS,
        "proxy_auth_token": PROXY,
        "proxy_check_interval": "write c.ConfigurableHTTPProxy.check_running_interval",
        "proxy_class": PROXY,
        "proxy_cmd": PROXY,
        "recreate_internal_certs": INTERNAL,
        "reset_db": "it would delete all users at every start of the hub",
        "show_config": COMMAND_LINE,
        "show_config_json": COMMAND_LINE,
        "ssl_cert": EDGE,
        "ssl_key": EDGE,
        "subdomain_hook": "the edge has to know: use the key hub.user_domain of the config",
        "subdomain_host": "the edge has to know: use the key hub.user_domain of the config",
        "trusted_alt_names": INTERNAL,
        "upgrade_db": "tljh-install upgrade changes the database, and keeps a copy for the way back",
    },
    "Spawner": {
        "cpu_guarantee": "systemd cannot promise a share of the CPU to one server: use the key limits.cpu of the config",
        "dynamic_users": ACCOUNTS,
        "hub_connect_url": ADDRESS,
        "ip": SOCKET,
        "port": SOCKET,
        "rescue_environment": "it belongs to the hub's release",
        "shared_folders": "the installer makes the folders: use the key shared_folders of the config",
        "ssl_alt_names": INTERNAL,
        "ssl_alt_names_include_local": INTERNAL,
        "unit_name_template": "status, uninstalling and the edge know servers by the names of their units",
        "user_limits": "use the key limits of the config, or c.Spawner.mem_limit and c.Spawner.cpu_limit",
        "username_template": ACCOUNTS,
    },
    "Authenticator": {
        "any_allow_config": "JupyterHub works it out",
    },
    "Proxy": {
        "api_url": ADDRESS,
        "auth_token": PROXY,
        "command": PROXY,
        "command_umask": PROXY,
        "debug": PROXY,
        "log_level": PROXY,
        "pid_file": PROXY,
        "should_start": PROXY,
        "when_serving": "the hub learns by it that it serves",
    },
}

# What the hub needs in these stays in them, beside what a file says.
MERGED = {
    "JupyterHub": {"services", "load_roles", "template_paths", "template_vars", "extra_handlers", "tornado_settings"},
    "Spawner": {"extra_paths"},
    "Authenticator": {"admin_users", "blocked_users"},
}
