"""Programs that measure the compiler and write the tables of docs/."""
