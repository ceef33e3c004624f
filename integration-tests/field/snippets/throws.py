# A package that an upgrade of the hub took away.
c.Spawner.start_timeout = 77
import nosuch

c.Spawner.pre_spawn_hook = nosuch.hook
