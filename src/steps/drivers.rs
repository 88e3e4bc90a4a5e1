//! Kernel modules: coldplug by modalias, named ones, in the order of modules.dep.
