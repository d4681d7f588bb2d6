// Detect in a picture with an ONNX file of tfrcnn and OpenVINO: detect MODEL.onnx PICTURE.ppm
//
// Compiled against the files that `pip install openvino` brings ($OV is the package's folder):
//   g++ -std=c++17 -O2 detect.cpp -I$OV/include $OV/libs/libopenvino.so* -Wl,-rpath,$OV/libs -o detect
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include <openvino/openvino.hpp>

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s MODEL.onnx PICTURE.ppm\n", argv[0]);
        return 2;
    }
    std::ifstream file(argv[2], std::ios::binary);
    std::string kind;
    std::size_t width = 0, height = 0, white = 0;
    file >> kind >> width >> height >> white;
    file.get();
    if (!file || kind != "P6" || white != 255) {
        std::fprintf(stderr, "%s: expected a binary PPM picture of 8 bits\n", argv[2]);
        return 2;
    }
    ov::Tensor images(ov::element::u8, {1, height, width, 3});  // RGB, as it is: the file resizes and normalises
    file.read(reinterpret_cast<char*>(images.data<std::uint8_t>()), images.get_byte_size());

    ov::Core core;
    // OpenVINO would compute in bfloat16 where the CPU can, and find slightly other boxes
    auto model = core.compile_model(argv[1], "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = model.create_infer_request();
    request.set_tensor("images", images);
    request.infer();

    const float* boxes = request.get_tensor("detection_boxes").data<float>();  // [1, D, 4]: y1, x1, y2, x2 in [0, 1]
    const float* classes = request.get_tensor("detection_classes").data<float>();  // category ids
    const float* scores = request.get_tensor("detection_scores").data<float>();
    const int count = static_cast<int>(*request.get_tensor("num_detections").data<float>());
    for (int i = 0; i < count; ++i, boxes += 4) {
        std::printf("%d %.6f %.3f %.3f %.3f %.3f\n", static_cast<int>(classes[i]), scores[i], boxes[0] * height,
                    boxes[1] * width, boxes[2] * height, boxes[3] * width);
    }
}
