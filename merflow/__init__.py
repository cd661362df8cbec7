"""merflow: from raw face clips to a trustworthy micro-expression recognition study."""
