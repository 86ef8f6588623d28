"""The mathematics of a log that nobody can change unnoticed.

`tree` hashes, grows and proves; `tiles` cuts the tree into files; `checkpoint` signs its size and root;
`receipt` is what one entry's holder keeps. `notation` spells hashes and numbers for the last two. Nothing
here reads or writes anything.
"""
