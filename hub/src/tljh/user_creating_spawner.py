"""`from tljh.user_creating_spawner import UserCreatingSpawner`: the name that the older TLJH has for the hub's spawner."""

from tljh.spawner import UserSpawner

UserCreatingSpawner = UserSpawner
