"""From a graph to machine code: passes, loops, LLVM."""
