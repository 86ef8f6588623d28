"""Who may have which certificate: the rules as values, the file they come from, the verdict."""
