"""Speed, start-up, memory and cost of a pack on this machine: what `lorid-edge bench` measures."""
