package auth

// NewAt makes an Authenticator with a clock of the test's.
var NewAt = newAt
