"""A stand-in for conda's command line, for tests without a public conda channel. It is not conda, and no test that uses it has tried conda.

Real are: the packages, solving, linking, unlinking and the records in conda-meta (all py-rattler's), the cache of packages, the settings and where they
are looked for, how downloads are tried again. Imitated are: the verbs and flags that an installer uses, the words and exit codes of failures, JSON.
Not here: activation, `conda init` and `conda config`, plugins, revisions, other platforms than linux-64.

It looks at SSL_CERT_FILE as well as at REQUESTS_CA_BUNDLE; conda does so only where its setting ssl_verify is "truststore".
"""

VERSION = "26.3.2"
MAMBA_VERSION = "2.5.0"
