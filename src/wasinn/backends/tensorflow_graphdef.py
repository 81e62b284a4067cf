# SPDX-License-Identifier: Apache-2.0
"""What the backend `tensorflow` reads from a GraphDef before TensorFlow does: its ports, and its operations.

**Ports.** A GraphDef names neither its inputs nor its outputs. Both are chosen as OpenVINO's frontend does,
which is the default backend of this encoding, so that an index means the same on both (compared for 2026.4):
inputs are the Placeholders, in the order of the nodes; outputs are what no other node takes, not even as a
control dependency, sorted by name, and of a node with several outputs the first. What is constant is no
output.

**Operations.** TensorFlow has two thousand, and its graphs are programs: ReadFile, WriteFile, SaveV2, PyFunc
and RpcClient do what they are called, DebugIdentity writes files, ImmutableConst maps one, Abort ends the
process, and variables, tables and queues are shared by name with every other graph of the process. The
registry's own flag for side effects does not tell them apart (ReadFile, ImmutableConst, PyFuncStateless and
Abort are not "stateful"). So the operations that a graph given as bytes may use are listed here:
arithmetic on tensors, control flow, and random numbers. Left out although they only compute: what gives
memory that nobody wrote (Empty) or writes into what it was given (InplaceAdd and the like).

**Functions.** A graph's own functions lie in one library with those of all other graphs of the process: two
of one name collide, and a name that is not the graph's own would reach another graph's. Hence they are
renamed, and a call of any other is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_STRUCTURE = """
    Assert BroadcastGradientArgs Case CheckNumerics CheckNumericsV2 Const ControlTrigger EmptyTensorList
    EnsureShape Enter Exit FakeParam For GuaranteeConst HostConst Identity IdentityN If LoopCond Merge
    NextIteration NoOp PartitionedCall Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient
    Snapshot StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StopGradient Switch
    TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3
    TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorListConcat
    TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
    TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
    TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
    TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack While
"""

_ARITHMETIC = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan
    Atan2 Atanh Betainc Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil ClipByValue
    Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma Div
    DivNoNan Equal Erf Erfc Erfinv EuclideanNorm Exp Expint Expm1 Floor FloorDiv FloorMod Greater
    GreaterEqual HistogramFixedWidth Igamma Igammac Imag InTopK InTopKV2 Inv Invert InvertPermutation
    IsFinite IsInf IsNan KthOrderStatistic L2Loss LeftShift Less LessEqual Lgamma LinSpace Log Log1p
    LogicalAnd LogicalNot LogicalOr LowerBound Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg
    NextAfter NotEqual NthElement OnesLike Polygamma PopulationCount Pow Prod Range Real RealDiv Reciprocal
    RightShift Rint Round Rsqrt SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd
    SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2 Sigmoid Sign Sin Sinh SparseSegmentMean
    SparseSegmentSqrtN SparseSegmentSum Sqrt Square SquaredDifference Sub Sum Tan Tanh TopK TopKV2
    TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
    UpperBound Xdivy Xlog1py Xlogy ZerosLike Zeta
"""

_SHAPES = """
    BatchToSpace BatchToSpaceND BroadcastArgs BroadcastTo Concat ConcatOffset ConcatV2 ConjugateTranspose
    DepthToSpace Diag DiagPart DynamicPartition DynamicStitch ExpandDims ExtractImagePatches
    ExtractVolumePatches Fill Gather GatherNd GatherV2 ListDiff MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
    MirrorPad OneHot Pack Pad PadV2 ParallelDynamicStitch Rank Reshape Reverse ReverseSequence ReverseV2 Roll
    ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice SpaceToBatch SpaceToBatchND SpaceToDepth
    SparseToDense Split SplitV Squeeze StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex Where
"""

_NETWORKS = """
    AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2
    CTCBeamSearchDecoder CTCGreedyDecoder CombinedNonMaxSuppression Conv Conv2D Conv2DBackpropInput
    Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput Conv3DBackpropInputV2 DataFormatDimMap
    DataFormatVecPermute DepthwiseConv2dNative Dilation2D Elu FractionalAvgPool FractionalMaxPool
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell LRN
    LSTMBlockCell LeakyRelu LogSoftmax MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NonMaxSuppression
    NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5
    NonMaxSuppressionWithOverlaps Relu Relu6 Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
    SparseSoftmaxCrossEntropyWithLogits
"""

_LINEAR_ALGEBRA = """
    BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Einsum LogMatrixDeterminant Lu
    MatMul MatrixDeterminant MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs
    MatrixSquareRoot MatrixTriangularSolve Qr SelfAdjointEigV2 SparseMatMul SparseTensorDenseMatMul Svd
    TridiagonalMatMul TridiagonalSolve
"""

_SIGNALS = """
    AdjustContrastv2 AdjustHue AdjustSaturation AudioSpectrogram CropAndResize DrawBoundingBoxes
    DrawBoundingBoxesV2 ExtractGlimpse ExtractGlimpseV2 FFT FFT2D FFT3D HSVToRGB IFFT IFFT2D IFFT3D IRFFT
    IRFFT2D IRFFT3D ImageProjectiveTransformV2 ImageProjectiveTransformV3 Mfcc RFFT RFFT2D RFFT3D RGBToHSV
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
"""

_QUANTIZED = """
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    QuantizeDownAndShrinkRange QuantizeV2 QuantizedAdd QuantizedAvgPool QuantizedBiasAdd QuantizedConcat
    QuantizedConv2D QuantizedMatMul QuantizedMaxPool QuantizedMul QuantizedRelu QuantizedRelu6
    QuantizedReshape QuantizedResizeBilinear RequantizationRange Requantize
"""

_RANDOM = """
    Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt StatelessMultinomial StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform
    StatelessRandomUniformFullInt StatelessRandomUniformInt StatelessRandomUniformIntV2
    StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
"""

#: The names, as the `op` of a NodeDef has them.
ALLOWED: frozenset[str] = frozenset(
    " ".join(
        (_STRUCTURE, _ARITHMETIC, _SHAPES, _NETWORKS, _LINEAR_ALGEBRA, _SIGNALS, _QUANTIZED, _RANDOM)
    ).split()
)


def forbidden(graph: Any) -> tuple[str, str] | None:
    """The first operation of a GraphDef that is not ALLOWED, and its node; None if there is none."""
    own = {function.signature.name for function in graph.library.function}
    for node in _all_nodes(graph):
        if node.op not in ALLOWED and node.op not in own:
            return node.op, node.name
    return None


def detach(graph: Any, prefix: str) -> None:
    """Makes a GraphDef independent of where it came from and of what else is loaded.

    Every node loses the device that the model's author had, since the target is the caller's to say, and
    every function has its name begun with `prefix`. Raises ValueError for a call of a function that the
    graph does not have.
    """
    names = {each.signature.name: prefix + each.signature.name for each in graph.library.function}
    for node in _all_nodes(graph):
        node.device = ""
        node.op = names.get(node.op, node.op)
        for called in _calls(node):
            if called.name not in names:
                raise ValueError(f"the node {node.name!r} calls a function {called.name!r} that is not there")
            called.name = names[called.name]
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
    del graph.library.gradient[:]  # they are for training


def _all_nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _calls(owner: Any) -> Iterator[Any]:
    """The functions that a node names in its attributes, or a function in those that it is called with."""
    for value in owner.attr.values():
        for called in (value.func, *value.list.func):
            if called.name:
                yield called
                yield from _calls(called)


def input_names(graph: Any) -> list[str]:
    """The names of the nodes that are a GraphDef's inputs, in their order."""
    return [node.name for node in graph.node if node.op in ("Placeholder", "PlaceholderV2")]


def output_names(graph: Any) -> list[str]:
    """The names of the nodes that are a GraphDef's outputs, if they have any, in their order."""
    consumed = {_producer(name) for node in graph.node for name in node.input}
    nodes = {node.name: node for node in graph.node}
    ends = [name for name, node in nodes.items() if name not in consumed and not _is_constant(node, nodes)]
    return sorted(ends, key=str.encode)


def _producer(name: str) -> str:
    """The node that an input is of: `x`, `x:1` and, for a control dependency, `^x`."""
    return name.removeprefix("^").split(":", 1)[0]


def _is_constant(node: Any, nodes: dict[str, Any]) -> bool:
    """Whether a node is a constant, or the identity of one."""
    seen = set()
    while node.op == "Identity" and node.input and node.name not in seen:
        seen.add(node.name)
        node = nodes.get(_producer(node.input[0]), node)
    return node.op in ("Const", "PlaceholderWithDefault")
