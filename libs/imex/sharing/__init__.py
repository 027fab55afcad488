"""Who gets a study, and on which agreement: decisions that routing takes and others can take again. Pure."""
