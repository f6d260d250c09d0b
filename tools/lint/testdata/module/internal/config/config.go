// Package config is imported where it must not be.
package config

// Debug is a setting.
const Debug = true
