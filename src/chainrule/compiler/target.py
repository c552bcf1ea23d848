"""stub"""

import functools
from chainrule.compiler.product import Registers


class Target:
    def __init__(self):
        import llvmlite.binding as L

        L.initialize_native_target()
        L.initialize_native_asmprinter()
        self.triple = L.get_process_triple()
        self.cpu = L.get_host_cpu_name()
        self.features = L.get_host_cpu_features().flatten()
        self.registers = Registers(512, 32)

    def attributes(self):
        return f'nounwind "target-cpu"="{self.cpu}" "target-features"="{self.features}" "prefer-vector-width"="512"'


@functools.cache
def host():
    return Target()


def unsupported():
    return ""
