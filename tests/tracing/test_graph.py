import tensorflow as tf

from gradwatch.tracing.graph import Flow


def flow_of(function, *specs):
    graph = tf.function(function).get_concrete_function(*(specs or (tf.TensorSpec([2]),))).graph
    return graph, Flow(graph)


def types(flow, nodes):
    return {flow.tensors[node].op.type for node in nodes}


def test_before_and_after():
    graph, flow = flow_of(lambda x: (tf.sin(x), tf.cos(tf.exp(x))))
    sine, cosine = graph.outputs
    assert types(flow, flow.before([flow.node(cosine)])) == {"Placeholder", "Exp", "Cos", "Identity"}
    (x,) = graph.inputs
    assert {"Sin", "Cos"} <= types(flow, flow.after([flow.node(x)]))
    no_cosine = flow.before([flow.node(cosine)], lambda edge: edge.operation.type != "Cos")
    assert "Exp" not in types(flow, no_cosine)
    assert "Sin" in types(flow, flow.before([flow.node(sine)]))


def test_a_function_called_twice_has_two_places():
    inner = tf.function(lambda x: tf.sin(x))
    graph, flow = flow_of(lambda x, y: (inner(x), inner(y)), tf.TensorSpec([2]), tf.TensorSpec([2]))
    first, _ = graph.inputs
    _, second = graph.outputs
    assert flow.node(first) not in flow.before([flow.node(second)])
    assert len([node for node in flow.tensors if flow.tensors[node].op.type == "Sin"]) == 2


def test_branches_and_loops():
    def step(x):
        y = tf.cond(x[0] > 0, lambda: tf.sin(x), lambda: tf.cos(x))
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.exp(y)), (0, y))[1]

    graph, flow = flow_of(step)
    assert {"Sin", "Cos", "Exp", "Greater"} <= types(flow, flow.before([flow.node(graph.outputs[0])]))


def test_each_output_of_identity_comes_from_its_own_input():
    graph, flow = flow_of(lambda x: tf.identity_n([tf.sin(x), tf.cos(x)]))
    assert "Cos" not in types(flow, flow.before([flow.node(graph.outputs[0])]))


def test_what_looks_only_at_a_shape_leads_nowhere():
    graph, flow = flow_of(lambda x: tf.zeros_like(tf.sin(x)) + tf.cast(tf.shape(tf.cos(x)), tf.float32))
    assert not {"Sin", "Cos"} & types(flow, flow.before([flow.node(graph.outputs[0])]))


def test_what_is_written_into_a_variable_is_read_after_it_and_not_before():
    variable = tf.Variable([0.0, 0.0])

    def step(x):
        before = variable + 1.0
        variable.assign(tf.sin(x))
        return before, variable * 2.0

    graph, flow = flow_of(step)
    before, after = graph.outputs
    assert "Sin" in types(flow, flow.before([flow.node(after)]))
    assert "Sin" not in types(flow, flow.before([flow.node(before)]))
    assert flow.handles(variable)
    assert not flow.handles(tf.Variable(1.0))
