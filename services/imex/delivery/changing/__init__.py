"""What changes in a data set on its way out, as the recipient or the agreement asks. The store stays."""
