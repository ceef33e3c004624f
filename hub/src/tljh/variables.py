"""Environment variables of users' servers: each that the product sets, and what comes of one that an admin sets. Data only.

What is refused is refused by `tljh-install config validate`: config/variables.go says why, and a test holds the two to each other.
"""

HONOURED = "honoured"  # an admin's value is the server's
JOINED = "joined"  # an admin's value is added to the product's
REFUSED = "refused"

# By name: what comes of user_environment.variables, and who sets the variable otherwise.
TABLE: dict[str, tuple[str, str]] = {
    "CONDA_PREFIX": (HONOURED, "the user environment, where conda made it"),
    "CPU_GUARANTEE": (REFUSED, "JupyterHub"),
    "CPU_LIMIT": (REFUSED, "JupyterHub, from limits.cpu"),
    "CREDENTIALS_DIRECTORY": (REFUSED, "systemd"),
    "CURL_CA_BUNDLE": (HONOURED, "sources.ca"),
    "GIT_SSL_CAINFO": (HONOURED, "sources.ca"),
    "HOME": (REFUSED, "systemd, from the account"),
    "HTTPS_PROXY": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
    "HTTP_PROXY": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
    "INVOCATION_ID": (REFUSED, "systemd"),
    "IPYTHONDIR": (HONOURED, "a safe start, which has one of its own"),
    "JOURNAL_STREAM": (REFUSED, "systemd"),
    "JUPYTER_CONFIG_DIR": (HONOURED, "a safe start, which has one of its own"),
    "JUPYTER_DATA_DIR": (HONOURED, "a safe start, which has one of its own"),
    "JUPYTER_PATH": (JOINED, "extra kernels"),
    "JUPYTER_RUNTIME_DIR": (REFUSED, "the server's own /tmp"),
    "LANG": (HONOURED, "the hub's own"),
    "LISTEN_FDS": (REFUSED, "systemd"),
    "LISTEN_PID": (REFUSED, "systemd"),
    "LOGNAME": (REFUSED, "systemd, from the account"),
    "MEMORY_PRESSURE_WATCH": (REFUSED, "systemd"),
    "MEMORY_PRESSURE_WRITE": (REFUSED, "systemd"),
    "MEM_GUARANTEE": (REFUSED, "JupyterHub"),
    "MEM_LIMIT": (REFUSED, "JupyterHub, from limits.memory"),
    "NODE_EXTRA_CA_CERTS": (HONOURED, "sources.ca"),
    "NOTIFY_SOCKET": (REFUSED, "systemd"),
    "NO_PROXY": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
    "PATH": (REFUSED, "the user environment and the system"),
    "PIP_CERT": (HONOURED, "sources.ca"),
    "PIP_INDEX_URL": (HONOURED, "sources.index"),
    "PYTHONHOME": (REFUSED, "nobody: it would lead the server to another Python"),
    "PYTHONNOUSERSITE": (HONOURED, "a safe start"),
    "PYTHONPATH": (REFUSED, "nobody: servers would load what it leads to"),
    "REQUESTS_CA_BUNDLE": (HONOURED, "sources.ca"),
    "RUNTIME_DIRECTORY": (REFUSED, "systemd, in a safe start"),
    "SHELL": (REFUSED, "c.SystemdSpawner.default_shell"),
    "SSL_CERT_FILE": (HONOURED, "sources.ca"),
    "SYSTEMD_EXEC_PID": (REFUSED, "systemd"),
    "USER": (REFUSED, "systemd, from the account"),
    "UV_DEFAULT_INDEX": (HONOURED, "sources.index"),
    "http_proxy": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
    "https_proxy": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
    "no_proxy": (HONOURED, "network.http_proxy, https_proxy and no_proxy"),
}

# Of names that begin so, the hub, its servers and the linker make use.
PREFIXES = ("JUPYTERHUB_", "JPY_", "CONFIGPROXY_", "LD_")

# What c.Spawner.environment of a file cannot say, either.
FIXED = {
    "JUPYTERHUB_SERVICE_URL": "servers listen on a socket each, which no other user's process can take",
    "JUPYTER_RUNTIME_DIR": "kernels are reached over sockets in the server's own /tmp, whose paths must be short",
}
