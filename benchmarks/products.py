"""Extract the matrix products of a compiled function from its graph, count them, and run them alone, as a limit of its speed."""

import keras
import numpy as np


class Products:
    """All matrix products and convolutions of a function, forward and backward, at their shapes and precision.

    They come from the traced function, so they always match the model.

    Args:
        function: A function of tensors that the backend can compile.
        *arguments: Arguments for the trace.
    """

    def __init__(self, function, *arguments):
        trace = {"tensorflow": _of_tensorflow, "jax": _of_jax}[keras.backend.backend()]
        self.run, self.shapes = trace(function, arguments)

    @property
    def flops(self) -> int:
        """Number of floating-point operations: two for each multiplication."""
        return sum(flops for _, flops in self.shapes)


def _random(shape, dtype):
    """A separate tensor for each product, so that the compiler cannot merge equal products."""
    return keras.ops.cast(keras.random.normal(shape, stddev=0.1, seed=len(shape)), dtype)


def _of_tensorflow(function, arguments):
    import tensorflow as tf

    kinds = ("MatMul", "BatchMatMulV2", "Einsum", "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "Conv3D",
             "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2")  # fmt: skip
    graph = tf.function(function).get_concrete_function(*arguments).graph
    needed: set = set()
    waiting = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    while waiting:  # the graph also contains operations that are never run
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    found = [op for op in graph.get_operations() if op.type in kinds and op in needed]
    inputs: list = []
    calls, shapes = [], []
    for op in found:
        names = [argument.name for argument in op.op_def.input_arg]
        if op.type == "Einsum":
            names, given = ["inputs"], [list(op.inputs)]
        else:
            given = [[tensor] for tensor in op.inputs]
        attributes = {attribute.name: op.get_attr(attribute.name) for attribute in op.op_def.attr}
        attributes = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in attributes.items()
            if name not in ("T", "N", "Tshape") and not name.startswith("grad_")
        }
        fixed, places = dict(attributes), {}
        for name, tensors in zip(names, given):
            if tensors[0].dtype in (tf.int32, tf.int64):  # the shape of a gradient
                fixed[name] = tf.constant(op.outputs[0].shape.as_list())
                continue
            places[name] = range(len(inputs), len(inputs) + len(tensors))
            inputs += [_random(tensor.shape, tensor.dtype) for tensor in tensors]
        calls.append((getattr(tf.raw_ops, op.type), fixed, places, op.type == "Einsum"))
        shapes.append((f"{op.type} " + " x ".join(str(tuple(t.shape)) for t in op.inputs), _flops_of_operation(op)))

    @tf.function
    def run(inputs):
        outputs = []
        for call, fixed, places, many in calls:
            tensors = {name: [inputs[i] for i in place] for name, place in places.items()}
            outputs.append(call(**fixed, **{name: each if many else each[0] for name, each in tensors.items()}))
        return tf.stack([tf.cast(output[(0,) * len(output.shape)], tf.float32) for output in outputs])

    return lambda: run(inputs).numpy(), shapes


def _flops_of_operation(op) -> int:
    """Floating-point operations of an operation of a TensorFlow graph: two for each multiplication."""
    if op.type == "Einsum":
        labels = op.get_attr("equation").decode().split("->")[0].split(",")
        sizes: dict[str, int] = {}
        for term, tensor in zip(labels, op.inputs):
            sizes |= dict(zip(term, tensor.shape))
        return 2 * int(np.prod(list(sizes.values())))
    if op.type in ("MatMul", "BatchMatMulV2"):
        turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return 2 * int(np.prod(op.outputs[0].shape)) * op.inputs[0].shape[-2 if turned else -1]
    if "Filter" in op.type:  # the gradient of the kernel: each entry is a sum over the places of the output and the batch
        kernel, places = op.outputs[0].shape, op.inputs[2].shape[:-1]
    elif "Input" in op.type:
        kernel, places = op.inputs[1].shape, op.inputs[2].shape[:-1]
    else:
        kernel, places = op.inputs[1].shape, op.outputs[0].shape[:-1]
    return 2 * int(np.prod(kernel)) * int(np.prod(places))


def _of_jax(function, arguments):
    import jax

    equations = []

    def collect(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                equations.append(equation)
            for value in equation.params.values():
                for inner in value if isinstance(value, (list, tuple)) else [value]:
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        collect(inner)

    collect(jax.make_jaxpr(function)(*arguments).jaxpr)
    inputs = [[_random(variable.aval.shape, variable.aval.dtype) for variable in equation.invars] for equation in equations]
    shapes = []
    for equation in equations:
        left, right = (variable.aval.shape for variable in equation.invars)
        out = equation.outvars[0].aval.shape
        if equation.primitive.name == "dot_general":
            summed = np.prod([left[axis] for axis in equation.params["dimension_numbers"][0][0]])
        else:
            summed = np.prod(right) / right[equation.params["dimension_numbers"].rhs_spec[0]]
        shapes.append((f"{equation.primitive.name} {left} x {right}", 2 * int(np.prod(out)) * int(summed)))

    @jax.jit
    def run(inputs):
        return [equation.primitive.bind(*given, **equation.params) for equation, given in zip(equations, inputs)]

    return lambda: jax.block_until_ready(run(inputs)), shapes
