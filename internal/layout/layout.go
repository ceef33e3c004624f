// Package layout holds the names an installation is made of: paths, units, groups and ports. They are described in
// docs/contributing/internals.md. Nothing here looks at a machine.
package layout

// Paths of an installation. Users rely on the public ones (config, jupyterhub_config.d, installer.log); all are absolute.
const (
	Root          = "/opt/tljh"
	Binary        = Root + "/bin/tljh-install"
	BinaryLink    = "/usr/local/bin/tljh-install"
	ConfigLink    = "/usr/local/bin/tljh-config"
	SystemBinary  = "/usr/bin/tljh-install" // where sudo's path lacks /usr/local/bin
	SystemConfig  = "/usr/bin/tljh-config"  // there, and where legacy TLJH had it
	Python        = Root + "/python"
	Generations   = Root + "/generations"
	Snapshots     = Root + "/snapshots"
	Kernels       = Root + "/kernels"
	Hub           = Root + "/hub"
	User          = Root + "/user"
	Tools         = Root + "/tools"
	Authorities   = Tools + "/authorities.pem"
	Conda         = Root + "/conda"
	Shims         = Root + "/shims"
	Environments  = Root + "/envs" // conda environments that root makes by name; nothing here deletes them
	ConfigDir     = Root + "/config"
	Config        = ConfigDir + "/config.yaml"
	ConfigD       = ConfigDir + "/jupyterhub_config.d"
	State         = Root + "/state"
	Receipt       = State + "/receipt.jsonl"
	ProxyEnv      = State + "/proxy.env"
	EdgeEnv       = State + "/edge.env"
	NetworkEnv    = State + "/network.env"  // what hub and edge are told of the network's proxy
	ServersEnv    = State + "/servers.json" // the variables that single-user servers get of the network and of package sources
	Token         = State + "/installer.token"
	Passwords     = State + "/passwords.sqlite"
	ConfigHistory = State + "/config-history"
	Applied       = State + "/config.applied.yaml"
	AppliedValues = State + "/config.applied.json" // what the hub reads of it
	Manager       = State + "/package-manager"
	Problems      = State + "/config.problems.json"
	BreakGlass    = State + "/break-glass.json"
	RoomTold      = State + "/room.json"                  // the hub's word that the disk is full
	DatabaseTold  = State + "/database.json"              // the hub's word that its database was damaged
	PasswordsTold = State + "/passwords.json"             // the hub's word that the passwords were damaged
	Checked       = State + "/environment-check.json"     // what the last check of all files of the user environment found
	Returning     = State + "/environment-returning.json" // what the user environment is about to be switched for
	RescueTold    = State + "/rescue.json"                // the hub's word that servers start from the rescue environment
	Snippets      = State + "/snippets.json"              // the hub's word on the files in ConfigD
	Plugins       = State + "/plugins.json"               // the plugins of the older TLJH that were served
	Upgrade       = State + "/upgrade.json"
	Adopt         = State + "/adopt.json"
	Room          = State + "/room" // of the disk, that going back may need; there only while something is switched
	Older         = Root + "/older"
	Seen          = State + "/seen.json" // the newest release that was ever offered
	Kept          = State + "/releases"
	Releases      = Root + "/releases"
	ReleasesFile  = Releases + "/releases.json"
	HubGroups     = State + "/groups"
	PackageList   = State + "/user-environment.txt"
	Shared        = "/srv/tljh"
	Homes         = "/home" // unless the config says otherwise
	Aside         = "/var/backups/tljh"
	Log           = Root + "/installer.log"
	Cache         = Root + "/cache"
	Sudoers       = "/etc/sudoers.d/tljh"
	Profile       = "/etc/profile.d/tljh.sh"
	NeedRestart   = "/etc/needrestart/conf.d/tljh.conf"
	SSHRule       = "/etc/ssh/sshd_config.d/tljh.conf"
	Units         = "/etc/systemd/system"
	Runtime       = "/run/tljh"
	HostDevices   = Runtime + "/dev" // what the hub sees of the machine's /dev
	Lock          = Runtime + "/install.lock"
	ConfigLock    = Runtime + "/config.lock"
	Firewall      = Runtime + "/firewall.json" // whether users' processes can be reached
)

// The edge's own folders, which systemd makes for its account, and what root hands it there.
const (
	EdgeRuntime     = "/run/tljh-edge"
	EdgePair        = EdgeRuntime + "/pair.pem"
	EdgeAuthorities = EdgeRuntime + "/authorities.pem"
	EdgeState       = "/var/lib/tljh-edge"
)

// Units of systemd. Each user's server is jupyter-NAME.service in UsersSlice.
const (
	HubUnit    = "jupyterhub.service"
	ReturnUnit = "tljh-start-hub" // of a timer, which starts a hub that was stopped and not started again
	ProxyUnit  = "configurable-http-proxy.service"
	EdgeSocket = "tljh-edge.socket"
	EdgeUnit   = "tljh-edge.service"
	WatchPath  = "tljh-environment.path"
	WatchTimer = "tljh-environment.timer"
	WatchUnit  = "tljh-environment.service"
	CheckUnit  = "tljh-check.service"
	CheckTimer = "tljh-check.timer"
	UsersSlice = "tljh-users.slice"

	FirewallUnit  = "tljh-firewall.service"
	FirewallTimer = "tljh-firewall.timer"

	Slice = "tljh.slice" // all of the others are in it
)

// Groups made by the installer.
const (
	AdminsGroup = "jupyterhub-admins"
	UsersGroup  = "jupyterhub-users"
	ProxyGroup  = "tljh-proxy"
)

// EnvironmentUser is the account that owns the user environment and nothing else. Nobody logs in with it.
const EnvironmentUser = "tljh-env"

// Internal addresses, all on loopback and below port 1024, so that no user's process can take one while its owner restarts.
const (
	HubAddress      = "127.0.0.1:971"
	ProxyAddress    = "127.0.0.1:972"
	ProxyAPIAddress = "127.0.0.1:973"
)

// InternalAddresses are those that the edge can have none of.
var InternalAddresses = []string{HubAddress, ProxyAddress, ProxyAPIAddress}

// PythonMinor is the Python of the hub environment, and of a user environment that is built anew.
const PythonMinor = "3.14"

// SitePackages is where an environment of that Python has its packages.
const SitePackages = "lib/python" + PythonMinor + "/site-packages"

// ServersTemporary is the folder beside users' homes in which the hub keeps temporary files of their servers.
const ServersTemporary = ".tljh-tmp"

// ProxyTokenVariable is what ProxyEnv assigns the token of the proxy's API to.
const ProxyTokenVariable = "CONFIGPROXY_AUTH_TOKEN"

// SnapshotNote begins what stands in the lock while a change of the user environment is being kept: for a moment, which others wait for.
const SnapshotNote = "a snapshot of the user environment"

// ProbeUser is the hub user that an installation proves itself with. The authenticator never lets it log in.
const ProbeUser = "tljh-probe"
