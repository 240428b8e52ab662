"""The explorer: state (param only), store (data), session (work), pages (views), codegen, shell."""
