package dropin

// For the test of what is imported, which reads it as a configuration.
var (
	Tree     = tree
	Request  = request
	ReadWith = said
)
