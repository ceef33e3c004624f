package config

// migrations bring a config from one schema to the next, in order: the first makes one of schema 1 one of schema 2. One is added when a key gets
// another name, place or meaning, and none is ever taken out. Keys that are only new need none.
//
// Each is a change of the text by Set, Unset and the like, so that comments, order and all other bytes stay.
var migrations = []migration{}
