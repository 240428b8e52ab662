"""The pages: each shows results and changes the state, none computes."""
