package api

// StyleHash is styleHash.
var StyleHash = styleHash
