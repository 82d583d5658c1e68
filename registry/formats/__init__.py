"""Model-file formats: header readers that give facts and never load weights."""
