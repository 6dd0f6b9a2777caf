// Every kernel, in one translation unit.
#include "prelude.cuh"

#include "elementwise.cu"

#include "activation.cu"
#include "attention.cu"
#include "attention_backward.cu"
#include "attention_plain.cu"
#include "classifier.cu"
#include "dropout.cu"
#include "embedding.cu"
#include "epilogue.cu"
#include "linear.cu"
#include "norm.cu"
#include "rotary.cu"
#include "step.cu"
// After the step, whose chunks it uses.
#include "muon.cu"
