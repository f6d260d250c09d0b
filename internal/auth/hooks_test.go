package auth

// NewAt makes an Authenticator with a clock of the test's.
var NewAt = newAt

// LocalPath is what becomes of next.
var LocalPath = localPath
