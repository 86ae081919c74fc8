// Package doctest holds the documentation to what the product does: every
// example in it is loaded, compared with code that runs, or found in a test
// script. It has tests alone, and may import anything.
package doctest
